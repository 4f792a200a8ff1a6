"""Who may call: applications, impersonators, the back office (redemptions.md §7)."""

from tests.redemption_stage import RedemptionStage


async def test_an_application_reads_its_own_campaign(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign()
    application = await redemptions.application(campaign)
    reply = await redemptions.call(
        "GET", f"/campaigns/{campaign.campaign_id}", headers=redemptions.as_application(application)
    )
    assert (reply.status, reply.json["id"]) == (200, campaign.campaign_id)
