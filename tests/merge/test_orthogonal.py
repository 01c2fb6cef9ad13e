"""Steps of equal size in every direction."""

import torch

from clora_ext.merge.orthogonal import OrthogonalSteps, orthogonalised, share_of_rate


def test_singular_values_come_near_one_and_vectors_stay():
    torch.manual_seed(0)
    for shape in ((6, 9), (9, 6), (5, 5)):
        matrix = torch.randn(2, *shape)
        found = orthogonalised(matrix)
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6 and values.max() < 1.3
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        between = u.mT @ found @ v.mT
        torch.testing.assert_close(between, torch.diag_embed(between.diagonal(dim1=-2, dim2=-1)), rtol=0, atol=1e-3)


def test_nothing_stays_nothing():
    assert not orthogonalised(torch.zeros(1, 3, 4)).any()


def test_one_matrix_moves_the_same_alone_and_beside_others():
    torch.manual_seed(0)
    start, gradients = torch.randn(3, 4), [torch.randn(3, 4) for _ in range(3)]
    alone, first, other = start.clone(), start.clone(), torch.randn(3, 4)
    one, both = OrthogonalSteps([alone]), OrthogonalSteps([first, other, torch.randn(5, 2)])
    for gradient in gradients:
        one.step([gradient], 0.1)
        both.step([gradient, torch.randn(3, 4), torch.randn(5, 2)], 0.1)
    torch.testing.assert_close(alone, first)


def test_kept_momenta_go_on():
    torch.manual_seed(0)
    gradients = [torch.randn(3, 4) for _ in range(4)]
    whole, parts = torch.zeros(3, 4), torch.zeros(3, 4)
    steps = OrthogonalSteps([whole])
    for gradient in gradients:
        steps.step([gradient], 0.1)
    first = OrthogonalSteps([parts])
    for gradient in gradients[:2]:
        first.step([gradient], 0.1)
    second = OrthogonalSteps([parts], first.momenta)
    for gradient in gradients[2:]:
        second.step([gradient], 0.1)
    assert torch.equal(whole, parts)


def test_it_finds_the_least_of_a_sum_of_squares():
    torch.manual_seed(0)
    wanted, found = torch.randn(4, 6), torch.zeros(4, 6)
    steps = OrthogonalSteps([found])
    for step in range(200):
        steps.step([found - wanted], 0.1 * (1 - step / 200))
    assert (found - wanted).norm() < 0.05 * wanted.norm()


def test_the_rate_grows_stays_and_ends():
    shares = [share_of_rate(step, 100) for step in range(100)]
    assert shares[0] == 0.1 and shares[9:40] == [1.0] * 31
    assert shares == sorted(shares[:10]) + sorted(shares[10:], reverse=True)
    assert 0.0 < shares[-1] < 0.02
    assert all(0.0 < share_of_rate(0, steps) <= 1.0 for steps in (1, 2, 5))
