"""The example project's settings, with a driver for MariaDB that needs no compiler."""

import pymysql

# Django asks for a recent mysqlclient, whose place this takes.
pymysql.version_info = (2, 2, 8, "final", 0)
pymysql.install_as_MySQLdb()

from project.settings import *  # noqa: E402, F403
