"""The paper's experiments: each trains something, and ends in a table or a figure of the paper."""
