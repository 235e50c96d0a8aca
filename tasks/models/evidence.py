"""What nodes signed, kept as received."""

from __future__ import annotations

from django.db import models

from tasks.models.nodes import Node


class SignedReport(models.Model):
    """A message of reports whose signature was checked: evidence for disputes.

    One row a message, however many reports it carries; each names its assignment and
    nonce, so the bytes prove every one of them.
    """

    node = models.ForeignKey(
        Node, on_delete=models.PROTECT, db_index=False, related_name="signed_reports"
    )
    #: The JSON text, byte for byte.
    body = models.TextField()
    #: Base64 of the Ed25519 signature; see `workers.protocol.signatures`.
    signature = models.CharField(max_length=88)
    received_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"message {self.pk} of {self.node_id}"
