"""Every way to name a layer's tensors means one layer, by kohya's name."""

import pytest
import torch

from clora_ext.lora.names import for_encoders, kohya_name, kohya_names

UNET = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"
TO_K = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
TO_OUT = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_out_0"
CLIP = "text_model.encoder.layers.3.self_attn"
TE = "text_model_encoder_layers_3_self_attn"
DOWN, UP = "lora_down.weight", "lora_up.weight"
NAMES = [
    # kohya, and others by its scheme
    (f"{TO_K}.{DOWN}", f"{TO_K}.{DOWN}"),
    (f"{TO_K}.alpha", f"{TO_K}.alpha"),
    (f"{TO_K}.lora_A.weight", f"{TO_K}.{DOWN}"),
    ("lora_unet_input_blocks_4_1_proj_in.lora_mid.weight", "lora_unet_input_blocks_4_1_proj_in.lora_mid.weight"),
    (f"lora_te_{TE}_q_proj.{UP}", f"lora_te_{TE}_q_proj.{UP}"),
    (f"lora_te1_{TE}_q_proj.{UP}", f"lora_te1_{TE}_q_proj.{UP}"),
    (f"lora_te2_{TE}_q_proj.{UP}", f"lora_te2_{TE}_q_proj.{UP}"),
    (f"oft_unet_{TO_K[10:]}.oft_blocks", f"{TO_K}.oft_blocks"),
    (f"lycoris_{TO_K[10:]}.hada_w1_a", f"{TO_K}.hada_w1_a"),
    ("lora_unet_mid_block_attentions_0_norm.w_norm", "lora_unet_mid_block_attentions_0_norm.w_norm"),
    # the names of attention processors that it wrote before, with and without a prefix
    (f"{UNET}.processor.to_k_lora.down.weight", f"{TO_K}.{DOWN}"),
    (f"unet.{UNET}.processor.to_k_lora.up.weight", f"{TO_K}.{UP}"),
    (f"unet.{UNET}.processor.to_out_lora.up.weight", f"{TO_OUT}.{UP}"),
    (f"text_encoder.{CLIP}.to_q_lora.down.weight", f"lora_te1_{TE}_q_proj.{DOWN}"),
    (f"text_encoder.{CLIP}.to_out_lora.down.weight", f"lora_te1_{TE}_out_proj.{DOWN}"),
    # the names of layers that diffusers writes today
    (f"unet.{UNET}.to_k.lora.down.weight", f"{TO_K}.{DOWN}"),
    (f"unet.{UNET}.to_out.0.lora.up.weight", f"{TO_OUT}.{UP}"),
    (f"unet.{UNET}.to_k.alpha", f"{TO_K}.alpha"),
    (f"text_encoder.{CLIP}.q_proj.lora_linear_layer.up.weight", f"lora_te1_{TE}_q_proj.{UP}"),
    (f"text_encoder_2.{CLIP}.q_proj.lora_linear_layer.down.weight", f"lora_te2_{TE}_q_proj.{DOWN}"),
    ("unet.down_blocks.0.resnets.0.conv1.lora.down.weight", f"lora_unet_down_blocks_0_resnets_0_conv1.{DOWN}"),
    # PEFT
    (f"base_model.model.{UNET}.to_k.lora_A.weight", f"{TO_K}.{DOWN}"),
    (f"base_model.model.unet.{UNET}.to_k.lora_B.weight", f"{TO_K}.{UP}"),
    (f"unet.{UNET}.to_k.lora_A.default.weight", f"{TO_K}.{DOWN}"),
    (f"unet.{UNET}.to_k.lora_B.default_0.weight", f"{TO_K}.{UP}"),
    (f"unet.{UNET}.to_k.lora_magnitude_vector.weight", f"{TO_K}.dora_scale"),
    (f"unet.{UNET}.to_k.lora_magnitude_vector", f"{TO_K}.dora_scale"),
    (f"base_model.model.{CLIP}.q_proj.lora_A.weight", f"lora_te1_{TE}_q_proj.{DOWN}"),
    (f"base_model.model.{UNET}.to_k.hada_w2_b", f"{TO_K}.hada_w2_b"),
    # ldm's names with a prefix of their own
    ("diffusion_model.input_blocks.4.1.proj_in.lora_A.weight", f"lora_unet_input_blocks_4_1_proj_in.{DOWN}"),
    ("model.diffusion_model.out.2.lora_up.weight", f"lora_unet_out_2.{UP}"),
    # a prefix twice
    (f"lora_unet_unet_{TO_K[10:]}_lora_down.weight", f"{TO_K}.{DOWN}"),
    (f"lora_unet_lora_unet_{TO_K[10:]}.{UP}", f"{TO_K}.{UP}"),
    (f"unet.unet.{UNET}.to_k.lora.down.weight", f"{TO_K}.{DOWN}"),
    (f"base_model.model.base_model.model.{UNET}.to_k.lora_A.weight", f"{TO_K}.{DOWN}"),
    # embeddings
    ("bundle_emb.zz.string_to_param.*", "bundle_emb.zz.string_to_param.*"),
    ("<s1>", "bundle_emb.<s1>.string_to_param.*"),
    # none of a LoRA's
    ("v_pred", "v_pred"),
    ("unet:144:up", "unet:144:up"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "meant"), NAMES, ids=[name for name, _ in NAMES])
def test_a_name_means_a_layer(written: str, meant: str):
    assert kohya_name(written) == meant
    assert kohya_name(meant) == meant


def test_layers_by_number_are_those_of_a_diffusers_unet():
    """The first, a feed-forward one, the first of the way up, the first of the middle and the last."""
    block = "attentions_0_transformer_blocks_0"
    assert kohya_name("unet:0:down") == f"lora_unet_down_blocks_0_{block}_attn1_to_q.{DOWN}"
    assert kohya_name("unet:4:up") == f"lora_unet_down_blocks_0_{block}_ff_net_0_proj.{UP}"
    assert kohya_name("unet:54:up") == f"lora_unet_up_blocks_1_{block}_attn1_to_q.{UP}"
    assert kohya_name("unet:135:up") == f"lora_unet_mid_block_{block}_attn1_to_q.{UP}"
    assert kohya_name("unet:143:down") == f"lora_unet_mid_block_{block}_attn2_to_out_0.{DOWN}"
    assert kohya_name("text_encoder:14:up") == f"lora_te_{TE}_q_proj.{UP}"
    assert len({kohya_name(f"unet:{number}:up") for number in range(144)}) == 144


def test_a_magnitude_becomes_a_column():
    (scale,) = kohya_names({f"unet.{UNET}.to_k.lora_magnitude_vector.weight": torch.ones(5)}).values()
    assert scale.shape == (5, 1)


def test_the_only_text_encoder_has_no_number():
    names = [f"lora_te1_{TE}_q_proj.{UP}", f"lora_te2_{TE}_q_proj.{UP}", f"{TO_K}.{UP}"]
    tensors = {name: torch.zeros(1) for name in names}
    assert list(for_encoders(tensors, 2)) == names
    assert list(for_encoders(tensors, 1)) == [f"lora_te_{TE}_q_proj.{UP}", *names[1:]]
