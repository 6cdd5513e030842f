"""What a process does with a training run: start or resume it, loop, save, report, stop."""
