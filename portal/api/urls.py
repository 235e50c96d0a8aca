"""The map of the API, below `/api/v1/`."""

from __future__ import annotations

from django.urls import path, re_path

from portal.api import (
    api_keys,
    datasets,
    docs,
    health,
    jobs,
    me,
    models,
    nodes,
    quotes,
    receipts,
    results,
    wallet,
)

urlpatterns = [
    path("me/", me.Me.as_view()),
    path("keys/", api_keys.Keys.as_view()),
    path("keys/<str:key_id>/revoke/", api_keys.RevokeKey.as_view()),
    path("datasets/", datasets.Datasets.as_view()),
    path("datasets/<str:dataset_id>/", datasets.OneDataset.as_view()),
    path("datasets/<str:dataset_id>/images/", datasets.DatasetImages.as_view()),
    path("models/", models.Models.as_view()),
    path("models/<str:model_id>/", models.OneModel.as_view()),
    path("quotes/", quotes.Quotes.as_view()),
    path("jobs/", jobs.Jobs.as_view()),
    path("jobs/<str:job_id>/", jobs.OneJob.as_view()),
    path("jobs/<str:job_id>/pause/", jobs.PauseJob.as_view()),
    path("jobs/<str:job_id>/resume/", jobs.ResumeJob.as_view()),
    path("jobs/<str:job_id>/cancel/", jobs.CancelJob.as_view()),
    path("jobs/<str:job_id>/events/", jobs.JobEvents.as_view()),
    path("jobs/<str:job_id>/acks/", jobs.JobAcks.as_view()),
    path("jobs/<str:job_id>/results/", results.JobResults.as_view()),
    path("jobs/<str:job_id>/receipt/", receipts.JobReceipt.as_view()),
    path("nodes/", nodes.Nodes.as_view()),
    path("nodes/enrollments/", nodes.Enrollments.as_view()),
    path("nodes/<str:node_id>/", nodes.OneNode.as_view()),
    path("nodes/<str:node_id>/pause/", nodes.PauseNode.as_view()),
    path("nodes/<str:node_id>/resume/", nodes.ResumeNode.as_view()),
    path("nodes/<str:node_id>/retire/", nodes.RetireNode.as_view()),
    path("nodes/<str:node_id>/leave/", nodes.LeaveNode.as_view()),
    path("nodes/<str:node_id>/keys/", nodes.NodeKeys.as_view()),
    path("platform-keys/", nodes.PlatformKeys.as_view()),
    path("nodes/<str:node_id>/replicas/", nodes.NodeReplicas.as_view()),
    path("wallet/", wallet.Wallet.as_view()),
    path("wallet/transfers/", wallet.WalletTransfers.as_view()),
    path("wallet/statement/", wallet.WalletStatement.as_view()),
    path("health/live", health.Live.as_view()),
    path("health/ready", health.Ready.as_view()),
    path("schema/", docs.Schema.as_view(), name="api-schema"),
    path("docs/", docs.Docs.as_view(), name="api-docs"),
    re_path("", docs.Unknown.as_view()),
]
