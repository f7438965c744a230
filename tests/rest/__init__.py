"""An application over REST, as it was, and live."""
