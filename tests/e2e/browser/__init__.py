"""The whole story in real browsers: Chromium and Firefox, driven over WebDriver BiDi."""
