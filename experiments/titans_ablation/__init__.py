"""What each part of a Titans memory is for: parts left out, one by one."""
