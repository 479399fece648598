"""The root of the package's exceptions.

Each message says what was expected, what was found and what to do::

    DogbreedsError
    ├── model         PhotoError (PhotoTooLargeError), ModelError, ArtifactError, ArchiveError,
    │                 ExportError, TelemetryError
    ├── data          PhotosError, DownloadError, BrokenOffError
    ├── job_output    ReportError, ProfileError
    ├── training      SettingsError, CheckpointError, ClusterError
    ├── monitoring    TrialError
    ├── serving       SettingsError, RequestError, BackendError, LoadError, ServerError,
    │                 ScriptError
    ├── cloud         ConfigError, CloudError
    └── local         TrainingFailedError, ServerFailedError, RefusedError, TuningError

Most also derive from the built-in exception that fits, e.g. `ValueError`.
"""


class DogbreedsError(Exception):
    """An error that a user can fix; the message says how."""
