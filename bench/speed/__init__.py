"""What composing costs against a plain picture: FLOPs, UNet rows, memory and seconds."""
