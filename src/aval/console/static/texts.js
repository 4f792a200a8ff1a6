// Every word of the page. A text with values is a function.

const portuguese = {
  language: "pt-BR",
  other: "English",
  loading: "Carregando…",
  title_of: (title, integrator) => `${title} · ${integrator}`,

  approve_title: { pix_transfer: "Aprovar Pix?", ted: "Aprovar TED?", pix_transfer_batch: "Aprovar lote de Pix?", ted_batch: "Aprovar lote de TED?" },
  approve_lead: "Confira os dados abaixo. Aprove só o que você pediu ou reconhece.",
  amount: "Valor", total: "Valor total", fee: "Tarifa", fees: "Tarifas", debited: "Total debitado",
  payee: "Para", document: "CPF ou CNPJ", pix_key: "Chave Pix", destination: "Conta de destino",
  target_account: (ispb, branch, number) => `ISPB ${ispb}, agência ${branch}, conta ${number}`,
  account: "Da conta", items: "Pagamentos", item_count: (count) => count === 1 ? "1 pagamento" : `${count} pagamentos`,
  until: "Válido até",
  new_payee_notice: "É a primeira vez que esta conta paga este destino.",
  new_items: (count) => count === 1 ? "1 destino pago pela primeira vez" : `${count} destinos pagos pela primeira vez`,
  known_items: "Destinos já pagos antes", all_items: (count) => `Mostrar todos os ${count}`,
  technical: "Identificadores", operation_key: "Operação", account_key: "Conta",
  approve: "Aprovar com chave de acesso", deny: "Negar", working: "Aguardando sua chave de acesso…",

  deny_title: "Por que negar?", deny_lead: "A operação é recusada na hora e ninguém poderá aprová-la.",
  reasons: { not_me: "Não fui eu", wrong_details: "Os dados estão errados", other: "Outro motivo" },
  deny_confirm: "Negar com chave de acesso", back: "Voltar",

  approved_title: "Aprovado", approved_lead: (integrator) => `Sua aprovação foi registrada. ${integrator} conclui a operação; você pode fechar esta página.`,
  denied_title: "Negado", denied_lead: "A operação foi recusada. Nada sai da conta.",
  denied_not_me: (integrator) => `Se não foi você quem pediu, avise ${integrator} agora: alguém pode ter acesso à conta.`,
  closed_title: "Nada a aprovar", closed_lead: "Esta operação terminou: foi cancelada, recusada, ou o prazo acabou.",
  waiting_title: "Também aguarda você", nothing_waits: "Nada mais aguarda sua aprovação nesta conta.",
  operations: { pix_transfer: "Pix", ted: "TED", pix_transfer_batch: "Lote de Pix", ted_batch: "Lote de TED" },

  register_title: "Cadastrar chave de acesso",
  register_lead: (integrator) => `Com ela você aprova as movimentações desta conta em ${integrator}, usando a digital, o rosto ou o PIN deste aparelho.`,
  register_next: "Depois de criada, você recebe um código por SMS ou e-mail para confirmar o cadastro.",
  register: "Criar chave de acesso",
  made_title: "Chave de acesso criada", made_lead: (integrator) => `Continue em ${integrator} para confirmar o cadastro com o código que você vai receber.`,
  made_continue: (integrator) => `Continuar em ${integrator}`,
  made_copy_lead: "O link não diz para onde voltar. Copie o texto abaixo e entregue a quem enviou o link.",
  made_text: "Credencial", copy: "Copiar", copied: "Copiado.",
  passkey_label: (account) => `Conta ${account}`,

  problem_title: "Não foi possível continuar", again: "Tentar de novo",
  problems: {
    not_found: "Este link não vale. Confira se ele está completo ou peça outro.",
    expired: "Este link de cadastro expirou ou já foi usado. Peça outro.",
    unsupported: "Este navegador não oferece chaves de acesso. Abra o link em outro navegador ou aparelho.",
    no_passkey: "Não há chave de acesso sua cadastrada nesta conta para este site. Use o aplicativo ou cadastre uma chave de acesso.",
    mismatch: "Os dados recebidos não conferem entre si. Não aprove: avise quem enviou o link.",
    return_to: "O link manda voltar para um endereço que não é deste serviço. Não continue: avise quem enviou o link.",
    offline: "Sem conexão com o serviço. Tente de novo.",
    other: "O serviço não respondeu como esperado. Tente de novo em instantes.",
  },
  cancelled: "Nada foi assinado. Você pode tentar de novo.",
  already: "Este aparelho já tem uma chave de acesso para esta conta.",
  refused: "A chave de acesso não foi aceita para esta operação. Nada mudou.",
  renewed: "O prazo da assinatura acabou e foi renovado. Confira os dados e tente de novo.",
  unsure: "A conexão caiu e não se sabe se a resposta valeu. Recarregue a página para ver.",
  busy: (seconds) => `Muitas tentativas. Espere ${seconds} segundos.`,
};

const english = {
  language: "en",
  other: "Português",
  loading: "Loading…",
  title_of: (title, integrator) => `${title} · ${integrator}`,

  approve_title: { pix_transfer: "Approve Pix?", ted: "Approve TED?", pix_transfer_batch: "Approve batch of Pix?", ted_batch: "Approve batch of TED?" },
  approve_lead: "Check the details below. Approve only what you asked for or recognise.",
  amount: "Amount", total: "Total amount", fee: "Fee", fees: "Fees", debited: "Total debited",
  payee: "To", document: "CPF or CNPJ", pix_key: "Pix key", destination: "Destination account",
  target_account: (ispb, branch, number) => `ISPB ${ispb}, branch ${branch}, account ${number}`,
  account: "From account", items: "Payments", item_count: (count) => count === 1 ? "1 payment" : `${count} payments`,
  until: "Valid until",
  new_payee_notice: "This account has not paid this destination before.",
  new_items: (count) => count === 1 ? "1 destination paid for the first time" : `${count} destinations paid for the first time`,
  known_items: "Destinations paid before", all_items: (count) => `Show all ${count}`,
  technical: "Identifiers", operation_key: "Operation", account_key: "Account",
  approve: "Approve with passkey", deny: "Deny", working: "Waiting for your passkey…",

  deny_title: "Why deny?", deny_lead: "The operation is rejected at once, and nobody can approve it any more.",
  reasons: { not_me: "It was not me", wrong_details: "The details are wrong", other: "Another reason" },
  deny_confirm: "Deny with passkey", back: "Back",

  approved_title: "Approved", approved_lead: (integrator) => `Your approval is recorded. ${integrator} completes the operation; you may close this page.`,
  denied_title: "Denied", denied_lead: "The operation is rejected. Nothing leaves the account.",
  denied_not_me: (integrator) => `If it was not you who asked, tell ${integrator} now: somebody may have access to the account.`,
  closed_title: "Nothing to approve", closed_lead: "This operation has ended: it was cancelled or rejected, or its time is over.",
  waiting_title: "Also waiting for you", nothing_waits: "Nothing else waits for your approval on this account.",
  operations: { pix_transfer: "Pix", ted: "TED", pix_transfer_batch: "Batch of Pix", ted_batch: "Batch of TED" },

  register_title: "Register a passkey",
  register_lead: (integrator) => `With it you approve movements of this account at ${integrator}, using the fingerprint, face or PIN of this device.`,
  register_next: "Once it is made, you get a code by SMS or e-mail to confirm the registration.",
  register: "Make a passkey",
  made_title: "Passkey made", made_lead: (integrator) => `Go on at ${integrator} to confirm the registration with the code you will get.`,
  made_continue: (integrator) => `Go on at ${integrator}`,
  made_copy_lead: "The link does not say where to return to. Copy the text below and hand it to whoever sent you the link.",
  made_text: "Credential", copy: "Copy", copied: "Copied.",
  passkey_label: (account) => `Account ${account}`,

  problem_title: "It cannot go on", again: "Try again",
  problems: {
    not_found: "This link is not valid. See that it is complete, or ask for another.",
    expired: "This registration link has expired or was used before. Ask for another.",
    unsupported: "This browser has no passkeys. Open the link in another browser or on another device.",
    no_passkey: "You have no passkey registered for this account on this site. Use the app, or register a passkey.",
    mismatch: "The details received do not agree with each other. Do not approve: tell whoever sent you the link.",
    return_to: "The link wants to return to an address that is not of this service. Do not go on: tell whoever sent it.",
    offline: "No connection to the service. Try again.",
    other: "The service did not answer as expected. Try again in a moment.",
  },
  cancelled: "Nothing was signed. You may try again.",
  already: "This device already has a passkey for this account.",
  refused: "The passkey was not accepted for this operation. Nothing has changed.",
  renewed: "The time to sign was over and has been renewed. Check the details and try again.",
  unsure: "The connection was lost, and it is not known whether the answer counted. Reload the page to see.",
  busy: (seconds) => `Too many tries. Wait ${seconds} seconds.`,
};

export const texts = { "pt-BR": portuguese, en: english };

/** The first language the browser wants and the page has; else the integrator's. */
export function chosenLanguage(wanted, fallback) {
  for (const tag of wanted) {
    const primary = tag.toLowerCase().split("-")[0];
    if (primary === "pt") return "pt-BR";
    if (primary === "en") return "en";
  }
  return fallback;
}
