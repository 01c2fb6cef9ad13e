"""What a user can set, declared once, and what a job asks for."""
