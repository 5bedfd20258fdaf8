# On the CPU:
#   docker build -t gan_lightning .
#   docker run --rm -v "$PWD/runs:/home/gan/runs" gan_lightning --config configs/dcgan/digits.yaml
# On a GPU, with an image that holds the driver's libraries; pip brings torch with CUDA itself:
#   docker build --build-arg BASE=nvidia/cuda:13.0.2-base-ubuntu24.04 -t gan_lightning:gpu .
#   docker run --rm --gpus all --shm-size 2g -v "$PWD/runs:/home/gan/runs" gan_lightning:gpu WGANGP --data CIFAR10
# The folder `runs` of the host must be writable by user 1000. Other commands: --entrypoint gan.
ARG BASE=python:3.12-slim
FROM ${BASE}

ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

# Images of CUDA come without Python, those of Python without a user.
RUN if ! command -v python3 > /dev/null; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && python3 -m venv /opt/venv \
    && { getent passwd 1000 > /dev/null || useradd --create-home --uid 1000 gan; }

WORKDIR /opt/gan_lightning
# First what seldom changes: a change of the code does not install torch again.
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt
COPY setup.py setup.cfg pyproject.toml README.md LICENSE ./
COPY gan_lightning gan_lightning
COPY configs configs
RUN pip install --no-cache-dir --no-deps . \
    && install --directory --owner=1000 --group=1000 /home/gan /home/gan/runs \
    && ln -s /opt/gan_lightning/configs /home/gan/configs

ENV HOME=/home/gan
USER 1000
WORKDIR /home/gan
ENTRYPOINT ["python", "-m", "gan_lightning.fit"]
