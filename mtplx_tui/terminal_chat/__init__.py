"""`mtplx-tui chat`: a conversation without a full screen, by hand or over a pipe."""
