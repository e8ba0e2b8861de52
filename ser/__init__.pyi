from ser.inference.api import Prediction as Prediction
from ser.inference.api import Predictor as Predictor
from ser.inference.api import load as load
