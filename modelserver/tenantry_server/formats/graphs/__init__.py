"""What graphs of ONNX, TensorFlow and PyTorch take, give and need: read without asking them for rows."""
