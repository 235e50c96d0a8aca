"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from portal.web import (
    account,
    datasets,
    identity,
    jobs,
    keys,
    live,
    nodes,
    orders,
    overview,
    pictures,
    wallet,
    work,
)

urlpatterns = [
    path("", overview.show, name="overview"),
    path("jobs/", jobs.index, name="job-list"),
    path("jobs/new/", orders.new, name="job-new"),
    path("jobs/quote/", orders.quote, name="job-quote"),
    path("jobs/<str:job_id>/", live.show, name="job"),
    path("jobs/<str:job_id>/live/", live.poll, name="job-live"),
    path("jobs/<str:job_id>/pause/", jobs.pause, name="job-pause"),
    path("jobs/<str:job_id>/resume/", jobs.resume, name="job-resume"),
    path("jobs/<str:job_id>/cancel/", jobs.cancel, name="job-cancel"),
    path("jobs/<str:job_id>/results.<str:form>", jobs.download, name="job-results"),
    path("jobs/<str:job_id>/pictures/", pictures.index, name="picture-list"),
    path("jobs/<str:job_id>/pictures/<str:item_id>/", pictures.show, name="picture"),
    path("jobs/<str:job_id>/pictures/<str:item_id>/image", pictures.image, name="picture-image"),
    path("datasets/", datasets.index, name="dataset-list"),
    path("datasets/new/", datasets.new, name="dataset-new"),
    path("datasets/<str:dataset_id>/", datasets.show, name="dataset"),
    path("datasets/<str:dataset_id>/files/", datasets.add, name="dataset-files"),
    path("images/<str:image_id>", datasets.image, name="dataset-image"),
    path("nodes/", nodes.index, name="node-list"),
    path("nodes/new/", nodes.new, name="node-new"),
    path("nodes/waiting/", nodes.wait, name="node-wait"),
    path("nodes/<str:node_id>/", nodes.show, name="node"),
    path("nodes/<str:node_id>/pause/", nodes.pause, name="node-pause"),
    path("nodes/<str:node_id>/resume/", nodes.resume, name="node-resume"),
    path("nodes/<str:node_id>/retire/", nodes.retire, name="node-retire"),
    path("work/<str:replica_id>/", work.show, name="work"),
    path("work/<str:replica_id>/<str:item_id>/image", work.image, name="work-image"),
    path("wallet/", wallet.show, name="wallet"),
    path("wallet/statement.csv", wallet.statement, name="wallet-statement"),
    path("keys/", keys.index, name="key-list"),
    path("keys/<str:key_id>/revoke/", keys.revoke, name="key-revoke"),
    path("identity/", identity.show, name="identity"),
    path("account/", account.show, name="account"),
    path("account/operator/", account.switch_operator, name="account-operator"),
]
