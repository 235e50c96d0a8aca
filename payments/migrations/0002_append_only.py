"""Make transfers append-only: the database itself refuses to change or delete one.

SQLite loses the triggers of a table it rebuilds: a later migration that alters
`Transfer` (AddConstraint, AlterField, ...) must run these operations again.
TRUNCATE on PostgreSQL is left to the owner of the table (tests empty it that way).
"""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

FORWARD = {
    "postgresql": [
        """
        CREATE FUNCTION payments_transfer_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'transfers are append-only' USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """,
        """
        CREATE TRIGGER payments_transfer_append_only BEFORE UPDATE OR DELETE ON payments_transfer
        FOR EACH ROW EXECUTE FUNCTION payments_transfer_refuse()
        """,
    ],
    "sqlite": [
        f"""
        CREATE TRIGGER payments_transfer_no_{verb.lower()} BEFORE {verb} ON payments_transfer
        BEGIN SELECT RAISE(ABORT, 'transfers are append-only'); END
        """
        for verb in ("UPDATE", "DELETE")
    ],
}
BACKWARD = {
    "postgresql": [
        "DROP TRIGGER payments_transfer_append_only ON payments_transfer",
        "DROP FUNCTION payments_transfer_refuse()",
    ],
    "sqlite": [
        "DROP TRIGGER payments_transfer_no_update",
        "DROP TRIGGER payments_transfer_no_delete",
    ],
}


def refuse_changes(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create the triggers; a database without them is not supported."""
    for statement in FORWARD[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


def allow_changes(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop the triggers."""
    for statement in BACKWARD[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("payments", "0001_initial")]

    operations = [migrations.RunPython(refuse_changes, allow_changes)]
