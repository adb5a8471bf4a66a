"""Whether this engine keeps the law on this machine: what a certificate is made from."""
