"""The paper's experiments and questions."""
