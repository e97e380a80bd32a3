"""First use and reconnecting in real browsers: Chromium and Firefox, driven over WebDriver BiDi."""
