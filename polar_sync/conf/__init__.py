"""The settings of this package: the dict `POLAR_SYNC` of the Django settings, typed and read at each access.

    POLAR_SYNC = {
        "ORGANIZATIONS": {"default": {"ACCESS_TOKEN": os.environ["POLAR_ACCESS_TOKEN"]}},
    }

Reading a wrong setting raises `SettingError` (a `ConfigurationError`), which names the setting and what it allows. A
value that could be a secret, or stands where one belongs, is never repeated in the message.
"""

from polar_sync.conf.errors import Mistake, SettingError
from polar_sync.conf.organizations import OrganizationSettings
from polar_sync.conf.settings import PolarSyncSettings, settings

__all__ = ["Mistake", "OrganizationSettings", "PolarSyncSettings", "SettingError", "settings"]
