"""What a run can prove: held-out evaluation, diagnosis before training, cost. It knows no recipe file and no page."""
