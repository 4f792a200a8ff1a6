"""All routes of redemptions, one file of each feature after the other."""

from aval.http.edge import Route
from aval.http.parts import Parts
from aval.http.redemptions import (
    applications,
    campaigns,
    documents,
    oauth,
    orders,
    participants,
    phones,
    points,
    policies,
    purchases,
    reviews,
    sandbox,
)

FEATURES = (
    *(campaigns, policies, applications, oauth, participants, points, phones),
    *(documents, reviews, purchases, orders, sandbox),
)


def routes(parts: Parts) -> list[Route]:
    """List the routes of every feature of redemptions."""
    return [route for feature in FEATURES for route in feature.routes(parts)]
