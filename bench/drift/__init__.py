"""Streams that drift: each row is predicted, then learned once its label has arrived, beside other online learners."""
