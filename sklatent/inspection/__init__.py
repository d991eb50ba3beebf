"""Pictures of an embedding and of its fit, as scikit-learn's displays draw them."""
