"""From a video file to prepared frames: which moments (sample), their pixels (decode), the encoder's input (transform)."""
