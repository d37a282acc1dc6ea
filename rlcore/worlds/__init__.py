"""What reward follows? Small worlds whose answers are known exactly, or can be checked by a rule."""
