"""Other public programs whose weights `convert` knows, by name; what they are is in :mod:`networks.peers`."""

STYLEGAN2 = "stylegan2-ada-pytorch"  # github.com/NVlabs
R3GAN = "R3GAN"  # github.com/brownvc
CYCLEGAN = "pytorch-CycleGAN-and-pix2pix"  # github.com/junyanz
STARGAN = "stargan"  # github.com/yunjey
BIGGAN = "BigGAN-PyTorch"  # github.com/ajbrock
MIMICRY = "sngan-mimicry"  # github.com/kwotsin/mimicry
PROGRAMS = (STYLEGAN2, R3GAN, CYCLEGAN, STARGAN, BIGGAN, MIMICRY)
