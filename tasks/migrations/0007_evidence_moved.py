"""Move what nodes signed from each replica into its own table, and back."""

from django.db import migrations

BATCH = 500


def move(apps, schema_editor):
    Replica = apps.get_model("tasks", "Replica")
    SignedReport = apps.get_model("tasks", "SignedReport")
    left = Replica.objects.filter(signed_report=None).exclude(report_body="").order_by("pk")
    while rows := list(left[:BATCH]):
        kept = SignedReport.objects.bulk_create(
            SignedReport(
                node_id=row.node_id,
                body=row.report_body,
                signature=row.report_signature,
                received_at=row.reported_at or row.assigned_at,
            )
            for row in rows
        )
        for row, evidence in zip(rows, kept):
            row.signed_report_id = evidence.pk
        Replica.objects.bulk_update(rows, ["signed_report"])


def move_back(apps, schema_editor):
    Replica = apps.get_model("tasks", "Replica")
    moved = Replica.objects.exclude(signed_report=None).select_related("signed_report")
    while rows := list(moved.order_by("pk")[:BATCH]):
        for row in rows:
            row.report_body = row.signed_report.body
            row.report_signature = row.signed_report.signature
            row.signed_report = None
        Replica.objects.bulk_update(rows, ["report_body", "report_signature", "signed_report"])
    apps.get_model("tasks", "SignedReport").objects.all().delete()


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0006_evidence'),
    ]

    operations = [
        migrations.RunPython(move, move_back),
    ]
