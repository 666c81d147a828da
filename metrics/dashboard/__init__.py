"""What a run tells TensorBoard about itself: a row in HParams, texts, a layout of charts. Nothing here imports TensorFlow."""
