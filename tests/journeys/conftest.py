from tests.annotation.conftest import nothing_set, server, settings, store, studio, variables

__all__ = ["nothing_set", "server", "settings", "store", "studio", "variables"]  # fixtures
