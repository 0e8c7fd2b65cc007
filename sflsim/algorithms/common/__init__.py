"""What several algorithms share: first-order training, local losses, replicas, unsplit models, buffers."""
