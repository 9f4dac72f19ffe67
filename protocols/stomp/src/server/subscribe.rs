//! SUBSCRIBE and UNSUBSCRIBE: consumers for the engine, and which of them lasts.

use std::borrow::Cow;
use std::num::NonZeroU16;
use std::sync::Arc;

use noctule_core::consumer::{Consume, ConsumerId, Request};
use noctule_core::effects::Input;
use noctule_core::group::QueueOptions;
use noctule_core::refusal::{Kind, Refusal};
use noctule_core::selector::Selector;

use super::Turn;
use super::consumers::{AckMode, By, Consumer, Deliveries, Found, State};
use crate::address::Purpose;
use crate::dialect::Dialect;
use crate::error::Excerpt;
use crate::fields::{bad_value, digits, short, shown};
use crate::version::Version;

/// Names a durable subscription together with the `client-id` of CONNECT.
const SUBSCRIPTION_NAME: &str = "activemq.subscriptionName";

/// What the client calls a subscription.
struct Name<'a> {
    text: Cow<'a, str>,
    /// Whether by an `id` of its own.
    is_given: bool,
}

impl<'a> Turn<'_, 'a> {
    pub(super) fn subscribe(&mut self, engine: &mut impl FnMut(Input<'_>)) -> Result<(), Refusal> {
        let destination = self.destination()?;
        let name = self.name(&destination)?;
        self.check_free(&name.text)?;
        let id = self.free_id()?;
        let group = self.header("x-queue-name");
        let filter = match &group {
            Some(group) => self.grammar.to_share(&destination, group).map(Cow::Owned),
            None => self.grammar.to_core(&destination, Purpose::Subscribe),
        };
        let filter = filter.map_err(|error| error.refusal(Purpose::Subscribe))?;
        let mode = self.ack_mode()?;
        let window = self.window()?;
        let options = self.queue_options()?;
        let durable = self.durable(&destination, &filter, &name, &options)?;
        if let Some(durable) = &durable {
            self.check_one_consumer(durable)?;
        }
        let browses = self.flag("browser")?.unwrap_or(false);
        let no_local = self.flag("no-local")?.or(self.flag("activemq.noLocal")?).unwrap_or(false);
        let exclusive = self.flag("exclusive")?.or(self.flag("activemq.exclusive")?).unwrap_or(false);
        let selector = self.selector(&filter)?;
        let receipt = self.receipt()?;
        self.conversation.consumers.push(Consumer {
            id,
            name: name.text.as_ref().into(),
            is_named: name.is_given,
            mode,
            durable: durable.as_deref().map(Into::into),
            state: State::Live,
            destination: (browses || self.may_be_ended_by_destination(&name))
                .then(|| destination.as_ref().into()),
            deliveries: Deliveries::default(),
        });
        let consume = Consume {
            id,
            filter: &filter,
            durable: durable.as_deref(),
            acknowledges: mode != AckMode::Auto && !browses,
            window,
            no_local,
            selector,
            browses,
            exclusive,
            options: &options,
        };
        engine(Input::Request(self.conn, Request::Consume(consume), receipt));
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, engine: &mut impl FnMut(Input<'_>)) -> Result<(), Refusal> {
        let is_to_end = self.header(SUBSCRIPTION_NAME).is_some() || self.flag("durable")?.unwrap_or(false);
        let id = self.header("id");
        let consumer = match &id {
            Some(id) => self.conversation.consumers.find(By::Name, id).one(),
            None if self.version == Version::V10 => self.by_destination()?,
            None => None,
        };
        if let Some(consumer) = consumer {
            return self.cancel(consumer, is_to_end, engine);
        }
        if is_to_end {
            return self.end_durable(id.unwrap_or_default(), engine);
        }
        let name = match (id, self.version) {
            (Some(id), _) => id,
            (None, Version::V10) => self.required(
                "destination",
                "say which subscription ends: its id, or its destination if it has none",
            )?,
            (None, _) => self.required("id", "say which subscription ends, by the id of its SUBSCRIBE")?,
        };
        let shown = Excerpt::of(name.as_bytes());
        let detail =
            format!("subscription {shown} is not there; unsubscribe by the id of its SUBSCRIBE, once");
        Err(Refusal::new(Kind::ProtocolError, detail))
    }

    /// The subscription that an UNSUBSCRIBE of 1.0 names by its destination, whether it has an `id` or not (1.0,
    /// "UNSUBSCRIBE": "either a destination header or an id header"). If one has none, it is that one.
    fn by_destination(&self) -> Result<Option<ConsumerId>, Refusal> {
        let Some(destination) = self.header("destination") else { return Ok(None) };
        let consumers = &self.conversation.consumers;
        if let Found::One(consumer) = consumers.find(By::Name, &destination) {
            return Ok(Some(consumer));
        }
        match consumers.find(By::Destination, &destination) {
            Found::Several => {
                let shown = Excerpt::of(destination.as_bytes());
                let detail = format!(
                    "destination {shown} has several subscriptions; say which one ends, by the id of its SUBSCRIBE"
                );
                Err(Refusal::new(Kind::ProtocolError, detail))
            }
            found => Ok(found.one()),
        }
    }

    /// Whether UNSUBSCRIBE may leave out the `id` of a subscription that has one.
    fn may_be_ended_by_destination(&self, name: &Name<'_>) -> bool {
        self.version == Version::V10 && name.is_given
    }

    /// Ends a durable subscription, or a group that stays without members, for which no consumer of this connection was
    /// named. `activemq.subscriptionName` is enough, as ActiveMQ's clients write it: whatever it is subscribed to.
    fn end_durable(&mut self, id: Cow<'a, str>, engine: &mut impl FnMut(Input<'_>)) -> Result<(), Refusal> {
        if let Some(group) = self.header("x-queue-name") {
            let filter = self.grammar.to_share(&self.destination()?, &group);
            let filter = filter.map_err(|error| error.refusal(Purpose::Subscribe))?;
            let receipt = self.receipt()?;
            engine(Input::Request(self.conn, Request::Forget { filter: &filter, durable: "" }, receipt));
            return Ok(());
        }
        let given = self.header("destination").filter(|destination| !destination.is_empty());
        let (destination, filter) = match given {
            None if self.header(SUBSCRIPTION_NAME).is_some() => (Cow::Borrowed(""), Cow::Borrowed("")),
            None => {
                let mend =
                    "a durable subscription without activemq.subscriptionName is known by destination and id";
                self.required("destination", mend).map(|destination| (destination, Cow::Borrowed("")))?
            }
            Some(destination) => {
                let filter = self.grammar.to_core(&destination, Purpose::Subscribe);
                let filter = filter.map_err(|error| error.refusal(Purpose::Subscribe))?.into_owned();
                (destination, Cow::Owned(filter))
            }
        };
        let name = Name { text: id, is_given: true };
        let Some(durable) = self.durable(&destination, &filter, &name, &QueueOptions::default())? else {
            let destination = Excerpt::of(destination.as_bytes());
            let detail = format!("there is no durable subscription to {destination}; leave out durable:true");
            return Err(Refusal::new(Kind::ProtocolError, detail));
        };
        if let Found::One(consumer) = self.conversation.consumers.find(By::Durable, &durable) {
            return self.cancel(consumer, true, engine);
        }
        let receipt = self.receipt()?;
        engine(Input::Request(self.conn, Request::Forget { filter: &filter, durable: &durable }, receipt));
        Ok(())
    }

    fn cancel(
        &mut self,
        id: ConsumerId,
        is_to_end: bool,
        engine: &mut impl FnMut(Input<'_>),
    ) -> Result<(), Refusal> {
        let Some(consumer) = self.conversation.consumers.get(id) else { return self.nothing(engine) };
        let was_live = consumer.state == State::Live;
        let forgets = is_to_end && consumer.durable.is_some();
        self.conversation.consumers.cancel(id);
        if !was_live {
            // The engine has ended it already.
            return self.nothing(engine);
        }
        let receipt = self.receipt()?;
        engine(Input::Request(self.conn, Request::Cancel { consumer: id, forgets }, receipt));
        Ok(())
    }

    /// RabbitMQ's clients do not subscribe to their temporary queues: to name one in `reply-to` is enough, and the
    /// subscription's `id` is the destination.
    pub(super) fn consume_answers(
        &mut self,
        reply_to: &str,
        engine: &mut impl FnMut(Input<'_>),
    ) -> Result<(), Refusal> {
        if self.grammar.dialect != Dialect::Rabbitmq
            || !reply_to.starts_with("/temp-queue/")
            || self.conversation.consumers.find(By::Name, reply_to) != Found::Nobody
        {
            return Ok(());
        }
        let id = self.free_id()?;
        let filter = self.grammar.to_core(reply_to, Purpose::Subscribe);
        let filter = filter.map_err(|error| error.refusal(Purpose::Subscribe))?;
        let window = NonZeroU16::new(self.around.stomp.default_prefetch).unwrap_or(NonZeroU16::MIN);
        self.conversation.consumers.push(Consumer {
            id,
            name: reply_to.into(),
            is_named: true,
            mode: AckMode::Auto,
            durable: None,
            state: State::Live,
            destination: None,
            deliveries: Deliveries::default(),
        });
        let consume = Consume {
            id,
            filter: &filter,
            durable: None,
            acknowledges: false,
            window,
            no_local: false,
            selector: None,
            browses: false,
            exclusive: false,
            options: &QueueOptions::default(),
        };
        engine(Input::Request(self.conn, Request::Consume(consume), None));
        Ok(())
    }

    fn destination(&self) -> Result<Cow<'a, str>, Refusal> {
        Ok(self.required("destination", "say what is meant, such as /topic/NAME or /queue/NAME")?)
    }

    /// `id`, which 1.0 has only if the client likes (1.0, "SUBSCRIBE"; 1.1 and 1.2, "SUBSCRIBE id Header").
    fn name(&self, destination: &Cow<'a, str>) -> Result<Name<'a>, Refusal> {
        let text = match (self.header("id"), self.version) {
            (Some(text), _) => text,
            (None, Version::V10) => return Ok(Name { text: destination.clone(), is_given: false }),
            (None, Version::V11 | Version::V12) => self
                .required("id", "name the subscription: any text that no other one of this connection has")?,
        };
        short("id", &text)?;
        Ok(Name { text, is_given: true })
    }

    fn check_free(&self, name: &str) -> Result<(), Refusal> {
        if self.conversation.consumers.find(By::Name, name) == Found::Nobody {
            return Ok(());
        }
        let name = Excerpt::of(name.as_bytes());
        let detail = format!("subscription {name} is there already; unsubscribe it first, or use another id");
        Err(Refusal::new(Kind::ProtocolError, detail))
    }

    /// A durable subscription has one consumer of a connection at most, so that its name tells which is meant.
    fn check_one_consumer(&mut self, durable: &str) -> Result<(), Refusal> {
        let consumers = &mut self.conversation.consumers;
        let other = consumers.find(By::Durable, durable).one().and_then(|other| consumers.get(other));
        let Some(other) = other else { return Ok(()) };
        let detail = format!(
            "subscription {} consumes from that durable subscription already; unsubscribe it first, or give this one \
             another name (activemq.subscriptionName, or id with durable:true)",
            Excerpt::of(other.name.as_bytes())
        );
        Err(Refusal::new(Kind::ProtocolError, detail))
    }

    fn free_id(&self) -> Result<ConsumerId, Refusal> {
        let limit = self.around.core.max_subscriptions;
        let consumers = &self.conversation.consumers;
        match consumers.next_id() {
            Some(id) if consumers.len() < limit as usize => Ok(id),
            _ => Err(Refusal::new(
                Kind::QuotaExceeded,
                format!(
                    "there are {limit} subscriptions already (max_subscriptions), those counted that are cancelled but \
                     whose messages are not all acknowledged; unsubscribe from one and acknowledge what it got"
                ),
            )),
        }
    }

    fn ack_mode(&self) -> Result<AckMode, Refusal> {
        match self.header("ack").as_deref() {
            None | Some("auto") => Ok(AckMode::Auto),
            Some("client") => Ok(AckMode::Client),
            Some("client-individual") => Ok(AckMode::ClientIndividual),
            Some(other) => Err(bad_value("ack", other, "auto, client or client-individual").into()),
        }
    }

    fn window(&self) -> Result<NonZeroU16, Refusal> {
        let limits = self.around.stomp;
        let mut asked = None;
        for name in ["prefetch-count", "activemq.prefetchSize"] {
            let Some(value) = self.header(name) else { continue };
            let number = digits(&value);
            let number =
                number.ok_or_else(|| bad_value(name, &value, "a number, 0 for as many as allowed"))?;
            asked.get_or_insert(number);
        }
        let most = u64::from(limits.max_prefetch);
        let window = match asked {
            None => u64::from(limits.default_prefetch).min(most),
            Some(0) => most,
            Some(number) => number.min(most),
        };
        Ok(u16::try_from(window).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN))
    }

    fn selector(&self, filter: &str) -> Result<Option<Arc<Selector>>, Refusal> {
        let written = self.frame.headers.get("selector").filter(|text| !text.trim().is_empty());
        let refused = |error| Refusal::new(Kind::ProtocolError, format!("header selector: {error}"));
        if filter != "$amq/headers" {
            return match written {
                None => Ok(None),
                Some(text) => Selector::parse(&text).map(|it| Some(Arc::new(it))).map_err(refused),
            };
        }
        if written.is_some() {
            let detail = "header selector does not go with /exchange/amq.headers, which selects by the other headers; \
                          subscribe to /exchange/amq.fanout with a selector";
            return Err(Refusal::new(Kind::ProtocolError, detail));
        }
        let any = match self.header("x-match").as_deref() {
            None | Some("all") => false,
            Some("any") => true,
            Some(other) => return Err(bad_value("x-match", other, "all or any").into()),
        };
        let wanted: Vec<_> = self.frame.headers.iter().filter(|(name, _)| is_binding(name)).collect();
        let pairs = wanted.iter().map(|(name, value)| (&**name, &**value));
        let bound = |error| {
            Refusal::new(Kind::ProtocolError, format!("headers that bind to /exchange/amq.headers: {error}"))
        };
        Selector::all_equal(pairs, any).map(|selector| Some(Arc::new(selector))).map_err(bound)
    }

    /// The name under which messages wait for a subscription that lasts (RULES: sessions); `None` for one that doesn't.
    /// What `durable` says of a queue, or of a group, is among its options.
    fn durable(
        &self,
        destination: &str,
        filter: &str,
        name: &Name<'_>,
        options: &QueueOptions,
    ) -> Result<Option<String>, Refusal> {
        let can_last = !["$queue/", "$reply/", "$share/"].iter().any(|kind| filter.starts_with(kind));
        let user = self.conversation.user.as_deref();
        if let Some(subscription) = self.header(SUBSCRIPTION_NAME) {
            shown(SUBSCRIPTION_NAME, &subscription)?;
            let excerpt = Excerpt::of(subscription.as_bytes());
            if !can_last {
                let detail =
                    format!("{SUBSCRIPTION_NAME} {excerpt} goes with /topic/ destinations; leave it out");
                return Err(Refusal::new(Kind::ProtocolError, detail));
            }
            let Some(client_id) = self.conversation.client_id.as_deref() else {
                let detail = format!(
                    "{SUBSCRIPTION_NAME} {excerpt} needs a client-id; send one with CONNECT, always the same"
                );
                return Err(Refusal::new(Kind::ProtocolError, detail));
            };
            return Ok(Some(durable_name(user, client_id, &subscription)));
        }
        if !can_last || !self.flag("durable")?.unwrap_or(false) || options.auto_delete == Some(true) {
            return Ok(None);
        }
        if !name.is_given || name.text.is_empty() {
            let mend = "a durable subscription needs one, always the same";
            self.required("id", mend)?;
        }
        shown("id", &name.text)?;
        Ok(Some(durable_name(user, destination, &name.text)))
    }
}

/// Whether a header of a SUBSCRIBE to `amq.headers` is to equal the messages' own; those of the protocol, and as in
/// RabbitMQ all that begin with `x-`, are not.
fn is_binding(name: &str) -> bool {
    let is_ours = matches!(
        name,
        "destination"
            | "id"
            | "ack"
            | "receipt"
            | "selector"
            | "content-length"
            | "durable"
            | "auto-delete"
            | "exclusive"
            | "prefetch-count"
            | "persistent"
            | "no-local"
            | "browser"
    );
    !is_ours && !name.starts_with("x-") && !name.starts_with("activemq.")
}

/// `stomp/user/where/which`; nobody's is `-`.
fn durable_name(user: Option<&str>, place: &str, which: &str) -> String {
    let mut name = String::from("stomp/");
    match user {
        None => name.push('-'),
        // A user of that name is not nobody.
        Some("-") => name.push_str("%2D"),
        Some(user) => escape_part(user, &mut name),
    }
    for part in [place, which] {
        name.push('/');
        escape_part(part, &mut name);
    }
    name
}

/// Appends a part so that none can look like two.
fn escape_part(part: &str, out: &mut String) {
    for letter in part.chars() {
        match letter {
            '/' => out.push_str("%2F"),
            '%' => out.push_str("%25"),
            _ => out.push(letter),
        }
    }
}
