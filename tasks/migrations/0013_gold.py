from django.conf import settings
from django.db import migrations, models


def pin_known_models(apps, schema_editor):
    """Bind the models that compute with 8-bit integers; they were offered before it was asked."""
    models = apps.get_model('tasks', 'CatalogModel').objects
    models.filter(check_report__quantisation='int8').update(is_class_pinned=True)
    models.filter(owner=None, slug='efficientnet-lite3').update(is_class_pinned=True)


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0012_archive'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(pin_known_models, migrations.RunPython.noop),
        migrations.RemoveConstraint(
            model_name='replica',
            name='gold_once_per_owner',
        ),
        # The constraint below has the same index.
        migrations.RemoveIndex(
            model_name='chunk',
            name='chunk_by_gold',
        ),
        migrations.AddField(
            model_name='golditem',
            name='numeric_class',
            field=models.CharField(blank=True, default='', max_length=120),
        ),
        migrations.AddConstraint(
            model_name='chunk',
            constraint=models.UniqueConstraint(condition=models.Q(('gold__isnull', False)), fields=('gold',), name='gold_in_one_chunk'),
        ),
        migrations.AddConstraint(
            model_name='replica',
            constraint=models.UniqueConstraint(condition=models.Q(('gold__isnull', False), models.Q(('reason__in', ('handed_back', 'lease_expired', 'node_removed')), _negated=True)), fields=('gold', 'operator'), name='gold_once_per_owner'),
        ),
    ]
