"""What people get to see of a reel: flags, kept stills, the page and the night's index. jinja2 lives here only."""
