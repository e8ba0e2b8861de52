"""Predict with a checkpoint: the steps are in ser/scripts/predict.py.

python predict.py ckpt=RUN/checkpoints/best.ckpt input=FILE output=pred.json
"""

from ser.scripts.predict import predict

if __name__ == "__main__":
    predict()
