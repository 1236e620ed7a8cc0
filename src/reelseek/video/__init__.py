"""From a video file to prepared frames: which moments (sample), their pixels (decode), encoder input (transform)."""
