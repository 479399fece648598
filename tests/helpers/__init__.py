"""What several tests share; tests import it as `helpers.NAME`."""
