"""Graph: what the results of all domains mean together; who can become whom and reach what. Pure."""

from .evaluate import NAME, READS, Graph, assembled, updated
from .findings import beyond, named, permissions, stakeholders

__all__ = ["NAME", "READS", "Graph", "assembled", "beyond", "named", "permissions", "stakeholders", "updated"]
