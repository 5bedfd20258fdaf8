#!/usr/bin/env bash
# On each of two nodes, all with the same name of the job and the address of the first node:
#   NNODES=2 NPROC_PER_NODE=4 JOB=sngan-1 ADDRESS=node0:29400 configs/cluster/torchrun.sh --config configs/sngan/cifar10.yaml
# What fails is started again, three times a node; the job then goes on from its last.ckpt, which all nodes must see. So
# does the same command, given once more after everything has ended: another name begins anew.
set -euo pipefail
NNODES=${NNODES:-1} NPROC_PER_NODE=${NPROC_PER_NODE:-1}
export WANDB_MODE=${WANDB_MODE:-offline}
# Else a process that is started again looks for the others where they were before: pytorch/pytorch#135712, #167288.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec "${PYTHON:-.venv/bin/python}" -m torch.distributed.run \
    --nnodes="$NNODES" --nproc-per-node="$NPROC_PER_NODE" --max-restarts="${MAX_RESTARTS:-3}" \
    --rdzv-backend=c10d --rdzv-endpoint="${ADDRESS:-localhost:29400}" --rdzv-id="${JOB:?is the name of the job}" \
    -m gan_lightning.fit --trainer.devices "$NPROC_PER_NODE" --trainer.num_nodes "$NNODES" "$@"
