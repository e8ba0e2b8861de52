"""Frontend, encoder, pooling and head: features in, logits out."""

from torch import Tensor, nn
from torch.nn import functional

from ser.batch import Padded
from ser.features.frontend import Frontend
from ser.models.base import Encoder
from ser.models.pooling import Pooling


class Head(nn.Module):
    """From an embedding to logits.

    Args:
        in_dim: D, width of the embedding.
        out_dim: logits, as the target asks.
        dropout: on the embedding, 0..1.
    """

    def __init__(self, in_dim: int, out_dim: int, *, dropout: float = 0.3) -> None:
        super().__init__()
        self.layers = nn.Sequential(_Norm(in_dim), nn.Dropout(dropout), nn.Linear(in_dim, out_dim))

    def forward(self, embedding: Tensor) -> Tensor:
        """[B, D] -> [B, out_dim]."""
        logits: Tensor = self.layers(embedding)
        return logits


class _Norm(nn.BatchNorm1d):
    """Batch norm that takes its running statistics for a batch of one, which has no deviation of its own."""

    def forward(self, embedding: Tensor) -> Tensor:
        if len(embedding) > 1:
            return super().forward(embedding)
        return functional.batch_norm(
            embedding, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class Classifier(nn.Module):
    """One answer an utterance."""

    def __init__(self, frontend: Frontend, encoder: Encoder, pooling: Pooling, head: Head) -> None:
        super().__init__()
        self.frontend = frontend
        self.encoder = encoder
        self.pooling = pooling
        self.head = head

    def embed(self, audio: Padded) -> Tensor:
        """[B, T, F] as stored -> embeddings [B, D]."""
        return self.pooling(self.encoder(self.frontend(audio)))

    def forward(self, audio: Padded) -> Tensor:
        """[B, T, F] as stored -> logits [B, out_dim]."""
        logits: Tensor = self.head(self.embed(audio))
        return logits
