from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0007_evidence_moved'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='replica',
            name='report_body',
        ),
        migrations.RemoveField(
            model_name='replica',
            name='report_signature',
        ),
    ]
