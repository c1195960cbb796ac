"""Settings that all unit tests share."""

from hypothesis import settings

settings.register_profile("millrace", deadline=None)
settings.load_profile("millrace")
