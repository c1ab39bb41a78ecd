"""One row of one length for all elements: neighbours weighted by properties of their element."""
