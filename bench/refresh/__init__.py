"""What a refresh is worth and costs: CLINC150 in fifteen stages, beside joint training and other ways to learn on."""
