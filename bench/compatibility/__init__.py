"""What composes with what, tried in the real WebUI: kinds of models, samplers, schedules and passes."""
