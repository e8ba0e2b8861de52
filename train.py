"""Train, choose the best epoch on validation, score it, report: the steps are in ser/scripts/train.py.

python train.py model=lstm optimizer.lr=1e-3
"""

from ser.scripts.train import train

if __name__ == "__main__":
    train()
