import { GraphQLNonNull, GraphQLObjectType, GraphQLSchema, GraphQLString } from "graphql";

export const sayQuery = "mutation ($text: String!) { say(text: $text) }";
export const ticksQuery = "subscription { ticks }";

const text = new GraphQLNonNull(GraphQLString);

/** What can be asked of app: a mutation and a subscription that it counts. */
export function schemaOf(app) {
	return new GraphQLSchema({
		query: new GraphQLObjectType({
			name: "Query",
			fields: { user: { type: text, resolve: (_, __, { user }) => user } },
		}),
		mutation: new GraphQLObjectType({
			name: "Mutation",
			fields: {
				say: {
					type: text,
					args: { text: { type: text } },
					resolve: (_, args, { user }) => {
						app.up.received(user, args.text);
						return args.text;
					},
				},
			},
		}),
		subscription: new GraphQLObjectType({
			name: "Subscription",
			fields: {
				ticks: {
					type: text,
					subscribe: (_, __, { user }) => app.ticks(user),
					resolve: (tick) => tick,
				},
			},
		}),
	});
}
