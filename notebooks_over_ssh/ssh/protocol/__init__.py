"""How bytes move: packets, the streams in them, and how much of a stream may be on its way."""
