"""Drop the indexes that PostgreSQL got for LIKE on keys: nobody asks so, each costs a write."""

from django.db import migrations

KEYS = [("Transfer", "key"), ("TransferIntent", "key")]


def drop(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    for name, column in KEYS:
        table = apps.get_model("payments", name)._meta.db_table
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
                " AND tablename = %s AND indexname LIKE %s",
                [table, f"%\\_{column}\\_%\\_like"],
            )
            found = [index for (index,) in cursor.fetchall()]
        for index in found:
            schema_editor.execute(f'DROP INDEX "{index}"')


class Migration(migrations.Migration):

    dependencies = [
        ("payments", "0004_void"),
    ]

    operations = [
        migrations.RunPython(drop, migrations.RunPython.noop),
    ]
