"""What a recording is: records, cohorts, reading them from files, simulating them."""
